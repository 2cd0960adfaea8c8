"""The older name of ``python -m training evaluate-volumes``, kept for one release for those who call it."""

from training.evaluation.volumes import main

if __name__ == "__main__":
    main()
