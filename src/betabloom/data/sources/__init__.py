"""Where pictures come from: folders, archives, tables, arrays, shards, downloads."""
