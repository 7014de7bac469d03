"""Undo and redo of what was pointed at, together with the segment editor's undo of its answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ...scene.prompts import PromptsState, prompts_state, restore_prompts


@dataclass(frozen=True)
class _Step:
    """One change of the prompts, and the name of what the object's segment held before and after its answer.

    :param saved: whether the editor saved a state for it; a change of tags alone is one, too.
    """

    earlier: PromptsState
    later: PromptsState
    before: str
    after: str
    saved: bool

    def alone(self, content: str) -> bool:
        """Whether its answer changed nothing, so that the editor's history cannot tell it."""
        return self.before == self.after == content


class PromptHistory:
    """Undo and redo. The editor's history knows only segments, and the user paints in it as well; so a step of the prompts is
    taken back when the editor's undo has brought back exactly the content from before that step's answer. A step whose answer
    changed nothing is taken back by itself.

    :param editor: the editor's ``undo()`` and ``redo()``.
    :param content: names what the object's segment holds now; "" for nothing.
    :param on_restored: called after prompts were brought back.
    """

    def __init__(self, editor, content: Callable[[], str], on_restored: Callable[[], object]):
        self._editor, self._content, self._on_restored = editor, content, on_restored
        self.forget()

    def forget(self) -> None:
        """Begins anew with the prompts of the scene."""
        self._done: list[_Step] = []
        self._undone: list[_Step] = []
        self._state, self._before = prompts_state(), None

    def saving(self) -> None:
        """To be called when the editor's state is saved, before an answer is written."""
        if self._before is None:
            self._before = self._content()

    def note(self) -> None:
        """To be called when the answer has followed the prompts, or has not because it could not."""
        state, before = prompts_state(), self._before
        self._before = None
        if state == self._state:
            return
        now = self._content()
        self._done.append(_Step(self._state, state, now if before is None else before, now, before is not None))
        self._undone.clear()
        self._state = state

    def undo(self) -> None:
        step, now = self._done[-1] if self._done else None, self._content()
        alone = step is not None and step.alone(now)
        if not alone or step.saved:
            self._editor.undo()
        back = alone or (step is not None and now == step.after and self._content() == step.before)
        if back:
            self._undone.append(self._done.pop())
            self._restore(step.earlier)

    def redo(self) -> None:
        step, now = self._undone[-1] if self._undone else None, self._content()
        alone = step is not None and step.alone(now)
        if not alone or step.saved:
            self._editor.redo()
        again = alone or (step is not None and now == step.before and self._content() == step.after)
        if again:
            self._done.append(self._undone.pop())
            self._restore(step.later)

    def _restore(self, state: PromptsState) -> None:
        restore_prompts(state)
        self._state = prompts_state()
        self._on_restored()
