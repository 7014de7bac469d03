"""The vote: how far each voter is believed, where a segment is present, and what quality to expect."""
