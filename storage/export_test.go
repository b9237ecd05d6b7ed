package storage

// RedisLog receives go-redis's log lines unless the host sets another logger.
var RedisLog = redisLog
