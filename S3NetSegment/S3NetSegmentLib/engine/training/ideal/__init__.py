"""IDEAL: dense local contrastive pre-training and two-stream semi-supervised fine-tuning."""
