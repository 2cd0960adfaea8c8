"""The older name of ``python -m training evaluate``, kept for one release for those who call it."""

from training.evaluators import main

if __name__ == "__main__":
    main()
