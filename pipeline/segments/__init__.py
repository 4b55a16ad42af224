"""What is told of classes beside the marts: custom segments, one customer explained, a policy tried before it is published."""
