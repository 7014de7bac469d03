"""The panel: Qt widgets over the scene bridge, and the driver that keeps the window alive while the engine works.

``request`` (what is asked), ``answer`` (what was found) and ``result`` (writing it) need no widget; the module's logic
uses them alone. numpy and the engine are imported with the first of them, never when Slicer starts.
"""
