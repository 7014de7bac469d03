"""ALPNet: local prototypes of a drawn slice and the similarity of features to them."""
