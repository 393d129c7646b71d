"""Ask trained models what sketches show."""
