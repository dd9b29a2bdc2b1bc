"""Carry out a plan: the loop, optimizer, stages, precision, batches, prefix memory, checkpoints."""
