"""Batch: the methods over many images by one manifest, safe to stop at any moment and to go on with.

``manifest`` reads what is asked, ``plan`` leaves out what is finished, ``one_case`` does one of them and writes its record,
``workers`` and ``cluster`` do many at once, ``report`` shows the records.
"""
