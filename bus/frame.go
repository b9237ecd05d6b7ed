package bus

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/heliograph/heliograph/storage"
)

// version is the version of the frames. A frame may end in elements that this code
// does not know; a frame of another version is refused. In every version a frame to a
// worker begins with version, kind, id and client, so that the refusal can be
// answered.
const version = 1

// The kinds of frames to a worker.
const (
	kindRequest = iota
	kindCancel  // the caller has given up
	kindCredit  // the caller of a stream tells how much it has consumed
	kindRenew   // the lease is to be renewed at once, and with it what is known of a pause
)

// The kinds of frames to a client.
const (
	kindReply    = iota // ends the call
	kindHeld            // the worker holds the call
	kindItem            // of a stream
	kindReturned        // the worker has returned the call to its queue
)

// request is a call on its way to a worker.
type request struct {
	id        uint64 // 0: no reply is wanted
	client    string
	method    string
	sent      int64  // Redis time in ms
	deadline  int64  // the same; 0: none
	window    window // of a stream; zero: a plain call
	begin     int64  // Redis time in ms by which a stream must have begun; 0: deadline says it
	elsewhere bool   // the client may make the call again, at another worker
	header    Header
	body      Body

	// Not sent:
	beginBy time.Time // the time of begin; zero: none
	queued  func()    // called when the writer has the request; may be nil
}

// window is a number of items of a stream and their bytes.
type window struct{ items, bytes uint64 }

const requestElems = 14

func (r *request) pack() []byte {
	b := make([]byte, 0, 64+len(r.client)+len(r.method)+len(r.body.Data))
	b = append(b, 0x90|requestElems, version, kindRequest)
	b = appendUint(b, r.id)
	b = appendBlob(b, strHead, r.client)
	b = appendBlob(b, strHead, r.method)
	b = appendUint(b, uint64(r.body.Codec))
	b = appendUint(b, uint64(r.sent))
	b = appendUint(b, uint64(r.deadline))
	b = appendUint(b, r.window.items)
	b = appendUint(b, r.window.bytes)
	b = appendUint(b, uint64(r.begin))
	b = append(b, flag(r.elsewhere))
	b = appendHeader(b, r.header)
	return appendBlob(b, binHead, r.body.Data)
}

// flag returns 1 for true, and 0 for false.
func flag(is bool) byte {
	if is {
		return 1
	}
	return 0
}

func (r *request) unpack(frame string) error {
	c := cursor{rest: frame}
	more := c.open(requestElems)
	c.kind(kindRequest, kindRequest)
	r.id = c.uint()
	r.client = c.blob()
	r.method = c.blob()
	r.body.Codec = c.codec()
	r.sent = int64(c.uint())
	r.deadline = int64(c.uint())
	r.window.items = c.uint()
	r.window.bytes = c.uint()
	r.begin = int64(c.uint())
	r.elsewhere = c.uint() != 0
	r.header = c.header()
	r.body.Data = bytesOf(c.blob())
	return c.close(more)
}

// caller reads the id and client of a frame of any version.
func caller(frame string) (id uint64, client string, ok bool) {
	c := cursor{rest: frame}
	c.array(4)
	c.uint() // version
	c.uint() // kind
	id, client = c.uint(), c.blob()
	return id, client, c.err == nil && id != 0
}

// notice is a frame about a call to the worker that holds it.
type notice struct {
	kind   uint64 // kindCancel, kindCredit or kindRenew
	id     uint64
	client string
	spent  window // of a stream, consumed since its beginning
}

const noticeElems = 6

func (n *notice) pack() []byte {
	b := make([]byte, 0, 32+len(n.client))
	b = append(b, 0x90|noticeElems, version, byte(n.kind))
	b = appendUint(b, n.id)
	b = appendBlob(b, strHead, n.client)
	b = appendUint(b, n.spent.items)
	return appendUint(b, n.spent.bytes)
}

func (n *notice) unpack(frame string) error {
	c := cursor{rest: frame}
	more := c.open(noticeElems)
	n.kind = c.kind(kindCancel, kindRenew)
	n.id = c.uint()
	n.client = c.blob()
	n.spent.items = c.uint()
	n.spent.bytes = c.uint()
	return c.close(more)
}

// isNotice reports whether a frame is a notice and not a request.
func isNotice(frame string) bool {
	return len(frame) > 2 && frame[1] == version && frame[2] != kindRequest
}

// reply is a frame of a worker about a call.
type reply struct {
	kind   uint64
	id     uint64
	from   string        // the worker
	lease  time.Duration // of the worker, in kindHeld; in the frame in ms
	seq    uint64        // of a stream: items sent, this one included
	code   Code          // "": body is the result
	text   string
	header Header
	body   Body
}

const replyElems = 10

func (r *reply) pack() []byte {
	elems := byte(replyElems)
	if r.kind == kindHeld {
		elems++
	}
	b := make([]byte, 0, 64+len(r.from)+len(r.code)+len(r.text)+len(r.body.Data))
	b = append(b, 0x90|elems, version, byte(r.kind))
	b = appendUint(b, r.id)
	b = appendBlob(b, strHead, r.from)
	b = appendUint(b, r.seq)
	b = appendBlob(b, strHead, r.code)
	b = appendBlob(b, strHead, r.text)
	b = appendUint(b, uint64(r.body.Codec))
	b = appendHeader(b, r.header)
	b = appendBlob(b, binHead, r.body.Data)
	if r.kind == kindHeld {
		b = appendUint(b, uint64(r.lease.Milliseconds()))
	}
	return b
}

// item is a packed reply of kindItem. Its body is encoded in place, without a copy, and
// its number is filled in when it is sent.
type item struct {
	frame []byte
	size  int // of the body, in bytes
	seq   int // where in the frame the number is
}

func packItem(id uint64, from string, codec storage.Codec, v any) (it item, err error) {
	b := make([]byte, 0, 64+len(from))
	b = append(b, 0x90|replyElems, version, kindItem)
	b = appendUint(b, id)
	b = appendBlob(b, strHead, from)
	it.seq = len(b) + 1
	b = append(b, 0xcf, 0, 0, 0, 0, 0, 0, 0, 0)                             // the number, in 8 bytes
	b = append(b, 0xa0, 0xa0, byte(codec), 0xc0, binHead.len32, 0, 0, 0, 0) // no code, text and header
	head := len(b)
	if it.frame, err = codec.Append(b, v); err != nil {
		return item{}, err
	}
	it.size = len(it.frame) - head
	binary.BigEndian.PutUint32(it.frame[head-4:], uint32(it.size))
	return it, nil
}

func (it item) number(seq uint64) { binary.BigEndian.PutUint64(it.frame[it.seq:], seq) }

func (r *reply) unpack(frame string) error {
	c := cursor{rest: frame}
	more := c.open(replyElems)
	r.kind = c.kind(kindReply, kindReturned)
	r.id = c.uint()
	r.from = c.blob()
	r.seq = c.uint()
	r.code = Code(c.blob())
	r.text = c.blob()
	r.body.Codec = c.codec()
	r.header = c.header()
	r.body.Data = bytesOf(c.blob())
	if r.kind == kindHeld && more > 0 {
		r.lease = time.Duration(min(c.uint(), maxLease)) * time.Millisecond
		more--
	}
	return c.close(more)
}

// maxLease bounds the lease that a frame may name, in ms.
const maxLease = 24 * 60 * 60 * 1000

// kind reads the kind of a frame, which must be in a range.
func (c *cursor) kind(first, last uint64) uint64 {
	k := c.uint()
	if c.err == nil && (k < first || k > last) {
		c.fail(fmt.Errorf("kind %d is unknown here", k))
	}
	return k
}
