"""``s3net pretrain`` and ``s3net finetune``: one training from the command line, its trial run, and the folds of a cohort."""
