"""Does this candidate deserve a robot?"""
