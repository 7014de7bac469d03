"""``FewShotController``: runs Few-shot step by step and keeps drawn slices and answer; knows no widgets.

The panel and the Segment Editor effect are its two users.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import numpy as np
from slicer.i18n import tr as _

from ...engine import InputError, Step
from ...engine.common.device import torch_loaded
from ...engine.common.progress import as_part_of
from ...scene.answers.accepted_answer import AcceptedAnswer
from ...scene.answers.confidence import ConfidenceOverlay
from ...scene.drawings.support_set import SupportPlane, support_from_text, support_to_text
from ...scene.segmentation.segment_slices import RESPECTFUL, EditingRules
from ...scene.session import SceneWatch
from ..run import Controller, Listener, Run, tell
from .request import FewShotRequest
from .result import FewShotResult
from .support import SupportKeeper

_ENGINES = 2  # volumes whose engine is kept: the drawn one, and another one that its drawing is taken to
_QUICK_SHARE = 0.1  # of the progress bar


class FewShotController(Controller):
    """Keeps the drawn slices and the answer, a preview until it is accepted.

    The user's segments are changed by :meth:`accept` alone. A run is dropped when one of its nodes goes, its volume
    changes or the scene closes; so is a preview.

    Attributes: ``support`` (a :class:`SupportKeeper`, None without volume and segmentation), ``result`` (the latest
    :class:`FewShotResult` or None).
    """

    def __init__(
        self,
        listener: Listener,
        save_undo: Callable[[object], object] | None = None,
        make_engine: Callable | None = None,
        shown_plane: Callable[[], SupportPlane | None] = lambda: None,
    ):
        """
        :param save_undo: called with the segmentation node before an answer is written to it.
        :param make_engine: as :func:`_real_engine`, which is the default; the tests put their own in.
        :param shown_plane: the oblique plane that the user looks at, or None.
        """
        super().__init__(listener, _("Propagate was stopped: {reason}."), lambda done: done or self._keep(None))
        self._save_undo, self._make_engine = save_undo, make_engine or _real_engine
        self._live, self._shown_plane = Run(listener, quiet=True), shown_plane
        self.support: SupportKeeper | None = None
        self.result: FewShotResult | None = None
        self._engines: dict[tuple, object] = {}
        self._result_watch = None

    @property
    def is_live(self) -> bool:
        return self._live.running

    @property
    def overlay(self) -> ConfidenceOverlay | None:
        return self.result.overlay if self.result is not None else None

    # -- what is drawn

    @property
    def support_text(self) -> str:
        """The drawn slices as a text, to be kept with the scene; "" for none."""
        return support_to_text(self.support.drawn) if self.support is not None and self.support.drawn else ""

    def set_drawing(self, volume_node, segmentation_node, support: str = "", accepted: str = "") -> None:
        """The volume and segmentation that the user draws in; None: there is none. What cannot be drawn in is refused.

        :param support, accepted: what is known of the drawing: texts of :attr:`support_text` and of an :class:`AcceptedAnswer`.
        """
        if self.support is not None and (self.support.volume_node, self.support.segmentation_node) == (volume_node, segmentation_node):  # fmt: skip
            return
        self.support = None  # first: nobody must show the old one beside the new nodes
        self.let_go()
        why_not = ""
        if volume_node is not None and segmentation_node is not None:
            known = support_from_text(support), AcceptedAnswer.from_text(accepted)
            try:
                self.support = SupportKeeper(volume_node, segmentation_node, *known, self._shown_plane)
            except InputError as error:
                why_not = str(error)
        if volume_node is None or why_not:
            self._engines = {}  # they hold the voxels
        self._listener.state_changed()
        if why_not:
            self._listener.refused(why_not)

    def refresh(self) -> bool:
        """Takes over what the user has drawn since; returns whether other slices count as drawn now."""
        if self.support is None:
            return False
        try:
            changed = self.support.refresh()
        except InputError:  # e.g. a volume that came under a non-linear transform: whoever asks for an answer hears it
            return False
        if self.support.note:
            self._listener.informed(self.support.note)
        if changed:
            self._listener.state_changed()
        return changed

    def take_up(self) -> None:
        """Takes over what the user has drawn, without a word: before and after segments are written by others."""
        if self.support is not None:
            with contextlib.suppress(InputError):
                self.support.refresh()

    # -- a run

    def start(self, request: FewShotRequest) -> None:
        """Runs ``request``: what the user looks at is previewed first, then everything."""
        if self.running:
            return
        self.let_go()
        drawn = self.support.content() if self.support is not None else {}
        self._run.start(self._steps(request), lambda _: self._answered(drawn), request.nodes)

    def preview(self, request: FewShotRequest) -> None:
        """Previews what ``request`` answers first alone, in the present preview if there is one. A newer call, a start or
        a cancel ends it; nothing is said if there is nothing to preview."""
        if self.running or request.quick_slices is None:
            return
        self._live.cancel()
        self._live.start(self._live_steps(request), lambda _: self._refresh_again(), request.nodes)

    def cancel(self) -> None:
        super().cancel()
        self._live.cancel()

    def _steps(self, request: FewShotRequest):
        engine = yield from self._prepared(request)
        done, quick = 0.0, request.quick_slices
        if quick is not None:
            done = _QUICK_SHARE
            answer = yield from as_part_of(engine.propagate(quick, quick=True), 0.0, done)
            self._show(request, engine, answer, partial=True)
            yield Step(done, _("The shown slice is previewed"))
        answer = yield from as_part_of(engine.propagate(quick if request.only_shown else None), done, 1.0)
        self._show(request, engine, answer)

    def _live_steps(self, request: FewShotRequest):
        engine = yield from self._prepared(request)
        answer = yield from engine.propagate(request.quick_slices, quick=True)
        self._show(request, engine, answer, partial=True)

    def _prepared(self, request: FewShotRequest):
        """The engine of the request's volume, with its drawing."""
        if self._make_engine is _real_engine:
            yield from torch_loaded("few_shot.method")
        yield Step(0.0, _("Preparing the image"))
        engine = self._engine_for(request)
        yield Step(0.0, _("Preparing the image"))
        engine.set_support(request.items)
        yield Step(0.0, _("Preparing the image"))
        return engine

    def _engine_for(self, request: FewShotRequest):
        """The engine of the request's volume: it keeps what does not depend on the drawing."""
        key = request.engine_key
        engine = self._engines.pop(key, None)
        if engine is None:
            # Not two engines of one volume: other voxels or settings replace the old one.
            self._engines = {k: e for k, e in self._engines.items() if k[0] != key[0]}
            engine = self._make_engine(request.volume, request.settings, request.axis, request.encoder, request.device)
        kept = list(self._engines.items())[-(_ENGINES - 1) :]
        self._engines = {**dict(kept), key: engine}
        return engine

    def _show(self, request: FewShotRequest, engine, answer, partial: bool = False) -> None:
        result = self.result
        if result is None or not result.fits(request):
            self._keep(None)
            result = FewShotResult(request)
            self._keep(result)
        result.show(request, answer, engine.encoder, partial)

    def _refresh_again(self) -> None:
        if self.support is not None:
            self.support.refresh()

    def _answered(self, drawn: dict) -> list[str]:
        """What is to be said of the answer. ``drawn``: what was drawn when the run began."""
        self._refresh_again()
        notes = []
        if not np.any(self.result.preview.answer.labels):
            notes.append(
                _("Nothing was found beyond the drawn slices. Draw a slice farther away, where the segment still is.")
            )
        if self.support is not None and self.support.content() != drawn:
            notes.append(_("The drawing was changed meanwhile; propagate again to take that over."))
        return notes

    # -- the answer

    def accept(self, rules: EditingRules = RESPECTFUL) -> bool:
        """Writes the previewed answer into the segments, as one undo step; returns whether it was done.

        :param rules: what may change, above all in other segments.
        """
        result = self.result
        if result is None or self.running:
            return False
        self.cancel()
        try:
            if self.support is not None and not result.request.is_other_volume:
                self.refresh()
                result.preview.protect(self.support.drawn)  # also what was drawn since the answer came
            accepted = result.accept(self._save_undo, rules)
        except Exception as error:
            tell(self._listener, error)
            return False
        if self.support is not None and not result.request.is_other_volume:
            result.state = self.support.answer_accepted(accepted.name)
        self._listener.state_changed()
        for note in result.preview.notes:
            self._listener.informed(note)
        return True

    def discard(self) -> None:
        """Takes the preview away; the segments stay as they are."""
        if not self.running:
            self.cancel()
            self._keep(None)
            self._listener.state_changed()

    def let_go(self) -> None:
        """Ends the run and forgets the answer; what was accepted stays."""
        self.cancel()
        self._keep(None)
        self._listener.state_changed()

    def stop(self) -> None:
        self.cancel()
        self._keep(None)
        self.support = None
        self._engines = {}

    def _keep(self, result: FewShotResult | None) -> None:
        if self._result_watch is not None:
            self._result_watch.stop()
        if self.result is not None and result is not self.result:
            self.result.discard()
        self.result, self._result_watch = result, None
        if result is not None:
            self._result_watch = SceneWatch(result.request.nodes, self._answer_lost)

    def _answer_lost(self, reason: str) -> None:
        was_open = self.result is not None and self.result.is_open
        self._keep(None)
        self._listener.state_changed()
        if was_open and not (self.running or self.is_live):
            self._listener.informed(_("The preview was taken away: {reason}.").format(reason=reason))


def _real_engine(volume, settings, axis: str, encoder: str, device: str):
    from ...engine.few_shot.method import FewShot, load_encoder
    from ...scene.batch import with_packages

    return FewShot(volume, settings, axis, with_packages(lambda: load_encoder(encoder, device)), device)
