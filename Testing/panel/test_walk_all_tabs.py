"""Whatever a user does in all tabs: no slot raises, nothing is stuck, nothing leaks. Longer: Testing/reliability/panel_walks.py."""

from panel_walk import make_walk


def test_no_action_breaks_the_panel_and_nothing_leaks(open_panel):
    import headless_slicer
    import qt_stand_in

    headless = headless_slicer.start()
    walk = make_walk(open_panel, qt_stand_in.install(headless), headless, seed=3)
    walk.go(120)
    panel = walk.panel
    panel.close()
    inner = panel.panel
    assert inner.controller._run._watch is None and inner.controller._result_watch is None
    assert (
        not inner.prompts.watch.observed
        and not inner._refresh_timer.active
        and not inner.segment.target._segments.active
    )
