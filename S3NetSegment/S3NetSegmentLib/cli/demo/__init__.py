"""``s3net demo``: the samples that come with it, segmented and drawn, with a report."""
