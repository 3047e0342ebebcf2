"""What mosu says, in Chinese: one module for each part of the house, nothing but sentences.

The key is the English sentence as the code has it, with a name in braces for each of its f-string's holes.
"""
