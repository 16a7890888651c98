"""Who performs jobs: one file a duty.  Knows Redis only by the questions of `store`."""
