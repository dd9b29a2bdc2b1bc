"""What a comparison shows and says of itself: the report page, its figures, the model card."""
