"""What cambwatch decides, without input, output, clock or dice: time and chance are arguments."""
