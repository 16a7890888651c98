"""Where jobs live: the keys, the scripts and the connections of Redis or Valkey.  The only importer of coredis."""
