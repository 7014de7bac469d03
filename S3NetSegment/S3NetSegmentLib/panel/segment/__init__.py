"""The tab Segment: points, the search, and the answer with its steps."""
