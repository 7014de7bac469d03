"""Who votes in few-shot: propagated drawings, GrowCut, appearance, prototypes, drawings of other volumes."""
