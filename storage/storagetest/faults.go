package storagetest

import (
	"bufio"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/alicebob/miniredis/v2/server"
)

// Cut resets all connections and returns how many there were. What is on its way
// through them is lost. New connections may be made at once.
func (n *Network) Cut() int { return n.cut(func(*memoryConn) bool { return true }) }

// cut resets some connections.
func (n *Network) cut(these func(*memoryConn) bool) int {
	cut := n.open(these)
	for _, c := range cut {
		c.reset()
	}
	return len(cut)
}

// open takes some connections off the list of those that are open.
func (n *Network) open(these func(*memoryConn) bool) (taken []*memoryConn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for c := range n.conns {
		if these(c) {
			taken = append(taken, c)
			delete(n.conns, c)
		}
	}
	return taken
}

// Down cuts all connections and refuses new ones until Up. The server keeps its
// data.
func (n *Network) Down() {
	n.setDown(true)
	n.Cut()
}

// Up ends Down.
func (n *Network) Up() { n.setDown(false) }

func (n *Network) setDown(down bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.down = down
}

// Delay makes each reply arrive later by d, also on connections that exist. Zero ends
// it.
func (n *Network) Delay(d time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.delay = d
	for c := range n.conns {
		c.in.set(func() { c.in.delay = d })
	}
}

// HalfOpen breaks all connections without a word: what either end writes is lost, and
// nothing arrives. New connections may be made. End resets those that are still half
// open, as a machine does that has given up. It may be called more than once.
func (n *Network) HalfOpen() (end func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	var half []*memoryConn
	for c := range n.conns {
		half = append(half, c)
		for _, s := range []*stream{c.in, c.out} {
			s.set(func() { s.data, s.lossy = nil, true })
		}
	}
	return func() {
		for _, c := range half {
			c.reset()
		}
	}
}

// DropReply loses the next reply of the server, and its connection with it: the command
// was carried out, and the client can't know. Several calls drop as many replies.
func (n *Network) DropReply() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.drop++
}

// setDrop sets how many of the next replies are lost.
func (n *Network) setDrop(drop int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.drop = drop
}

// loseReply reports whether a reply to a client is to be lost, and then resets the
// connection.
func (n *Network) loseReply(client *memoryConn) bool {
	n.mu.Lock()
	lose := n.drop > 0
	if lose {
		n.drop--
		delete(n.conns, client)
	}
	n.mu.Unlock()
	if lose {
		client.reset()
	}
	return lose
}

// A Refusal is the error with which a server refuses commands.
type Refusal string

const (
	// RefuseOOM refuses what may need memory, such as RPUSH, XADD and SET.
	RefuseOOM Refusal = "OOM command not allowed when used memory > 'maxmemory'."
	// RefuseReadOnly refuses all writes, as a replica does.
	RefuseReadOnly Refusal = "READONLY You can't write against a read only replica."
	// RefuseLoading refuses all commands but those of connections and of pub/sub, as a
	// server does that reads its data from disk.
	RefuseLoading Refusal = "LOADING Redis is loading the dataset in memory"
)

// Refuse makes the server refuse commands until it is called with "". A script is
// refused as a whole, unlike on a real server, where it may read.
func (n *Network) Refuse(r Refusal) {
	n.server.Lock() // no script is under way
	defer n.server.Unlock()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.refusal = r
}

// Restart ends the server and starts it again, empty.
func (n *Network) Restart() { n.replace(func() { n.run("SCRIPT", "FLUSH"); n.run("FLUSHDB") }) }

// replace changes the server's data while nothing is connected to it.
func (n *Network) replace(change func()) {
	n.mu.Lock()
	was := n.down
	n.mu.Unlock()
	n.Down()
	change()
	n.setDown(was)
}

// firstSnapshot is the number of the database that holds the first snapshot: none that a
// pool uses.
const firstSnapshot = 1000

// Snapshot copies the data of the server. Restore ends the server and starts it again
// with that data, without the keys that have expired since. It may be called more than
// once. A snapshot has the first database only, and FLUSHALL empties it.
func (n *Network) Snapshot() (restore func()) {
	n.mu.Lock()
	db := strconv.Itoa(firstSnapshot + n.snapshots)
	n.snapshots++
	n.mu.Unlock()
	n.run("EVAL", luaCopy, "0", "0", db)
	return func() {
		n.replace(func() { n.run("EVAL", luaCopy, "0", db, "0") })
	}
}

// luaCopy makes a database a copy of another: ARGV has both numbers.
const luaCopy = `
redis.call('select', ARGV[2])
redis.call('flushdb')
redis.call('select', ARGV[1])
for _, key in ipairs(redis.call('keys', '*')) do
	redis.call('copy', key, key, 'db', ARGV[2])
end`

// Failover makes a replica the primary that lags by so much: for that time the server
// goes on, then it is away for the outage, and comes back without what was written in
// the lag. It returns when the server is back.
func (n *Network) Failover(lag, outage time.Duration) {
	restore := n.Snapshot()
	time.Sleep(lag)
	n.Down()
	restore()
	time.Sleep(outage)
	n.Up()
}

// run runs a command in the server, whatever is refused.
func (n *Network) run(args ...string) {
	srv := n.server.Server()
	srv.SetPreHook(nil)
	defer srv.SetPreHook(n.refuse)
	srv.Dispatch(server.NewPeer(bufio.NewWriter(io.Discard)), args)
}

// transaction is what a connection has queued since MULTI.
type transaction struct {
	commands []string
	refused  bool // one of them, before it was queued
}

// refuse is called before each command. It answers one that is to be refused, and
// returns true.
func (n *Network) refuse(c *server.Peer, cmd string, _ ...string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	tx := n.transactions[c]
	switch {
	case cmd == "MULTI":
		n.transactions[c] = &transaction{}
	case cmd == "EXEC" && tx != nil:
		delete(n.transactions, c)
		reason := " previous errors."
		if !tx.refused {
			if !slices.ContainsFunc(tx.commands, n.refusesLocked) {
				return false
			}
			reason = string(": " + n.refusal)
		}
		discard := server.NewPeer(bufio.NewWriter(io.Discard))
		discard.Ctx = c.Ctx
		n.mu.Unlock() // the server has locks of its own
		n.server.Server().Dispatch(discard, []string{"DISCARD"})
		n.mu.Lock()
		c.WriteError("EXECABORT Transaction discarded because of" + reason)
		return true
	case cmd == "DISCARD":
		delete(n.transactions, c)
	case n.refusesLocked(cmd):
		if tx != nil {
			tx.refused = true
		}
		c.WriteError(string(n.refusal))
		return true
	case tx != nil:
		tx.commands = append(tx.commands, cmd)
	}
	return false
}

// refusesLocked reports whether a command is to be refused.
func (n *Network) refusesLocked(cmd string) bool {
	switch n.refusal {
	case RefuseOOM:
		return needsMemory[cmd]
	case RefuseReadOnly:
		return !always[cmd] && !n.server.Server().IsReadOnlyCommand(cmd)
	case RefuseLoading:
		return !always[cmd]
	}
	return false
}

// needsMemory are the commands that a full server refuses.
var needsMemory = set("APPEND", "BLMOVE", "BRPOPLPUSH", "COPY", "DECR", "DECRBY", "EVAL", "EVALSHA", "GETSET",
	"HINCRBY", "HINCRBYFLOAT", "HMSET", "HSET", "HSETNX", "INCR", "INCRBY", "INCRBYFLOAT", "LINSERT", "LMOVE",
	"LPUSH", "LPUSHX", "LSET", "MSET", "MSETNX", "PFADD", "PSETEX", "RESTORE", "RPOPLPUSH", "RPUSH", "RPUSHX",
	"SADD", "SDIFFSTORE", "SET", "SETEX", "SETNX", "SETRANGE", "SINTERSTORE", "SUNIONSTORE", "XADD", "XGROUP",
	"ZADD", "ZINCRBY", "ZINTERSTORE", "ZUNIONSTORE")

// always are the commands of connections and of pub/sub, which a server carries out while
// it loads and as a replica.
var always = set("AUTH", "CLIENT", "COMMAND", "DISCARD", "EXEC", "HELLO", "INFO", "MULTI", "PSUBSCRIBE", "PUBLISH",
	"PUNSUBSCRIBE", "QUIT", "SCRIPT", "SELECT", "SUBSCRIBE", "UNSUBSCRIBE", "UNWATCH", "WATCH")

func set(names ...string) map[string]bool {
	all := make(map[string]bool, len(names))
	for _, name := range names {
		all[name] = true
	}
	return all
}
