"""The tab Few-shot, and what it shares with the Segment Editor's effect."""
