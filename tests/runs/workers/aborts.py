"""Workers that crash."""

import os

from securefl.runs import worker

worker.main = os.abort
