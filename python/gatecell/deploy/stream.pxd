# Streams for Cython: `stream.recurrences` are Steppers, which step without the GIL.
from gatecell.deploy.stepper cimport Stepper
