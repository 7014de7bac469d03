"""Registration of slices and volumes: alignment first, then deformation."""
