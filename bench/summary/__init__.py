"""Does the verifier of summaries refuse what is untrue, and pass what is true?"""
