"""The finetune step."""
