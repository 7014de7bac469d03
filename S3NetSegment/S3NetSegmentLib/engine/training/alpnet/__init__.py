"""Training of ALPNet's encoder by episodes on superpixels."""
