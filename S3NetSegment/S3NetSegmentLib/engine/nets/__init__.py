"""Networks on torch alone: encoders behind one protocol, and the layers that they are made of."""
