// Command generator loads a chat server over WebSockets and measures when its messages arrive.
//
// The load is open-loop: messages are sent on a fixed schedule, whatever the server does, and
// latency counts from the moment at which a message was to be sent. It connects to loopback
// addresses only. It reads its configuration (JSON) from standard input, and writes one JSON
// object a line: {"event": "joined"}, {"event": "measuring"}, and at last the result.
package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	maxClients   = 20_000
	maxDurationS = 180
	joinWithin   = 120 * time.Second
	drain        = 2 * time.Second // for messages that were sent at the end
	maxErrors    = 10
	dialers      = 32
)

type clientConfig struct {
	Query        string   `json:"query"`
	Subprotocols []string `json:"subprotocols"`
	Rooms        []string `json:"rooms"`
	Sends        bool     `json:"sends"`
}

type config struct {
	URL         string         `json:"url"`
	Protocol    string         `json:"protocol"`
	Run         string         `json:"run"` // makes message ids unique over runs
	Clients     []clientConfig `json:"clients"`
	Bytes       int            `json:"bytes"` // length of a message's text
	Rate        float64        `json:"rate"`  // messages a second, of all clients
	WarmupS     float64        `json:"warmup_s"`
	DurationS   float64        `json:"duration_s"`
	HeartbeatS  float64        `json:"heartbeat_s"`
	Acknowledge bool           `json:"acknowledge"` // every client acknowledges every message
	Stalled     int            `json:"stalled"`     // the last n clients do not read
	Drop        bool           `json:"drop"`        // half-way all connections end at once, and resume
}

type client struct {
	clientConfig
	number   int
	load     *load
	socket   *socket
	pending  atomic.Int64 // topics that are not joined yet
	rev      atomic.Int64 // the last revision of the first room, -1 before the join
	received atomic.Int64 // messages of the measured time
	stalled  bool
	dropped  bool
	lock     sync.Mutex
	waiting  map[string]time.Duration
	sent     int
}

type load struct {
	config
	target   *url.URL
	protocol protocol
	clients  []*client
	start    time.Time
	from, to time.Duration // the measured time
	joining  sync.WaitGroup
	lock     sync.Mutex
	deliver  histogram
	replies  histogram
	lateness histogram
	resumed  histogram
	dropAt   time.Time
	errors   []string
	failures int
	repeated int
	ending   atomic.Bool
}

type result struct {
	Event     string   `json:"event"`
	Clients   int      `json:"clients"`
	Sent      int      `json:"sent"`
	Expected  int64    `json:"expected"`
	Received  int64    `json:"received"`
	PerSecond float64  `json:"deliveries_per_s"`
	Delivery  latency  `json:"delivery"`
	Replies   latency  `json:"replies"`
	Lateness  latency  `json:"generator_lateness"`
	Resumed   *latency `json:"resumed,omitempty"`
	Repeated  int      `json:"repeated"`
	CPU       float64  `json:"generator_cores"`
	ConnectS  float64  `json:"connect_s"`
	Failures  int      `json:"failures"`
	Errors    []string `json:"errors"`
	Go        string   `json:"go"`
	MeasuredS float64  `json:"measured_s"`
}

func main() {
	l := &load{}
	if err := json.NewDecoder(os.Stdin).Decode(&l.config); err != nil {
		fail(err)
	}
	if len(l.Clients) == 0 || len(l.Clients) > maxClients || l.WarmupS+l.DurationS > maxDurationS {
		fail(fmt.Errorf("1 to %d clients, at most %d s", maxClients, maxDurationS))
	}
	var err error
	if l.target, err = url.Parse(l.URL); err != nil {
		fail(err)
	}
	if l.protocol, err = protocolOf(l.Protocol); err != nil {
		fail(err)
	}
	began := time.Now()
	if err = l.connect(); err != nil {
		fail(err)
	}
	connected := time.Since(began).Seconds()
	say(map[string]any{"event": "joined", "seconds": connected})
	found := l.measure()
	found.ConnectS = connected
	say(found)
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(2)
}

func say(value any) { json.NewEncoder(os.Stdout).Encode(value) }

// connect opens all sockets and waits until they have joined.
func (l *load) connect() error {
	turn := make(chan struct{}, dialers)
	failed := make(chan error, len(l.Clients))
	for number, settings := range l.Clients {
		c := &client{clientConfig: settings, number: number, load: l, waiting: map[string]time.Duration{}}
		c.stalled = number >= len(l.Clients)-l.Stalled
		c.rev.Store(-1)
		l.clients = append(l.clients, c)
		l.joining.Add(1)
		turn <- struct{}{}
		go func() {
			defer func() { <-turn }()
			if err := c.connect(); err != nil {
				failed <- fmt.Errorf("client %d: %w", number, err)
			}
		}()
	}
	all := make(chan struct{})
	go func() { l.joining.Wait(); close(all) }()
	select {
	case <-all:
		return nil
	case err := <-failed:
		return err
	case <-time.After(joinWithin):
		return fmt.Errorf("not all clients joined; %v", l.errors)
	}
}

func (c *client) connect() error {
	target := *c.load.target
	target.RawQuery = c.Query
	made, err := dial(&target, c.Subprotocols)
	if err != nil {
		return err
	}
	c.socket = made
	c.pending.Store(int64(len(c.Rooms)))
	go func() {
		err := made.read(c.heard)
		if !c.load.ending.Load() && c.socket == made && !c.dropped {
			c.load.failed("connection", []byte(err.Error()))
		}
	}()
	return c.load.protocol.open(c)
}

func (c *client) joined(topics int) {
	if c.pending.Add(int64(-topics)) != 0 {
		return
	}
	if c.dropped {
		c.load.lock.Lock()
		c.load.resumed.add(time.Since(c.load.dropAt))
		c.load.lock.Unlock()
		return
	}
	c.load.joining.Done()
}

func (l *load) failed(what string, text []byte) {
	l.lock.Lock()
	defer l.lock.Unlock()
	l.failures++
	if len(l.errors) < maxErrors {
		l.errors = append(l.errors, fmt.Sprintf("%s: %.200s", what, text))
	}
}

const (
	marker      = "@@"
	stampDigits = 15 // nanoseconds of 11 days
)

// heard handles a text frame, which may carry several messages.
func (c *client) heard(text []byte) {
	now := time.Since(c.load.start)
	found := 0
	for rest := text; ; {
		sentAt, after, ok := stampOf(rest)
		if !ok {
			break
		}
		found++
		rest = after
		c.received1(now, sentAt)
	}
	if found == 0 {
		c.load.protocol.answer(c, text)
	} else if c.load.Drop || c.load.Acknowledge {
		if rev := int64(numberAfter(text, revMember)); rev >= 0 && c.rev.Swap(rev) >= rev {
			c.load.lock.Lock()
			c.load.repeated++
			c.load.lock.Unlock()
		}
		if c.load.Acknowledge {
			if frame := c.load.protocol.acknowledge(c, text); frame != nil {
				c.socket.text(frame)
			}
		}
	}
	if c.stalled && c.pending.Load() <= 0 {
		select {} // reads no more
	}
}

func (c *client) received1(now, sentAt time.Duration) {
	l := c.load
	if sentAt < l.from || sentAt >= l.to {
		return
	}
	c.received.Add(1)
	l.lock.Lock()
	l.deliver.add(now - sentAt)
	l.lock.Unlock()
}

// acknowledged notes the server's reply to a message.
func (c *client) acknowledged(ref string, ok bool, text []byte) {
	c.lock.Lock()
	intended, known := c.waiting[ref]
	delete(c.waiting, ref)
	c.lock.Unlock()
	if !ok {
		c.load.failed("send", text)
	} else if l := c.load; known && intended >= l.from && intended < l.to {
		l.lock.Lock()
		l.replies.add(time.Since(l.start) - intended)
		l.lock.Unlock()
	}
}

func (c *client) send(intended time.Duration) {
	c.lock.Lock()
	c.sent++
	ref := fmt.Sprintf("m%d", c.sent)
	c.waiting[ref] = intended
	c.lock.Unlock()
	text := stamped(intended, c.load.Bytes)
	if err := c.socket.text(c.load.protocol.message(c, ref, text)); err != nil {
		c.load.failed("send", []byte(err.Error()))
	}
}

// stamped returns a text of a length that carries a time.
func stamped(at time.Duration, length int) string {
	text := fmt.Sprintf("%s%0*d", marker, stampDigits, at.Nanoseconds())
	if len(text) < length {
		text += strings.Repeat("x", length-len(text))
	}
	return text
}

func (l *load) measure() result {
	runtime.GC()
	var senders []*client
	rooms := map[string]int64{} // clients that read, by room
	for _, c := range l.clients {
		if c.Sends {
			senders = append(senders, c)
		}
		if !c.stalled && len(c.Rooms) > 0 {
			rooms[c.Rooms[0]]++
		}
	}
	seconds := func(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
	l.from, l.to = seconds(l.WarmupS), seconds(l.WarmupS+l.DurationS)
	l.start = time.Now()
	go l.beat()
	if l.Drop {
		time.AfterFunc(l.from+(l.to-l.from)/2, l.drop)
	}
	var sent int
	var expected int64
	var cpu time.Duration
	measuring := false
	for number := 0; ; number++ {
		intended := l.to
		if l.Rate > 0 && len(senders) > 0 {
			intended = seconds(float64(number) / l.Rate)
		}
		if intended >= l.from && !measuring {
			measuring = true
			time.Sleep(time.Until(l.start.Add(l.from)))
			cpu = cpuTime()
			say(map[string]any{"event": "measuring"})
		}
		if intended >= l.to {
			break
		}
		time.Sleep(time.Until(l.start.Add(intended)))
		c := senders[number%len(senders)]
		if intended >= l.from {
			sent++
			expected += rooms[c.Rooms[0]]
			l.lock.Lock()
			l.lateness.add(time.Since(l.start) - intended)
			l.lock.Unlock()
		}
		c.send(intended)
	}
	time.Sleep(time.Until(l.start.Add(l.to)))
	cpu = cpuTime() - cpu
	say(map[string]any{"event": "measured"})
	l.settle(expected)
	l.ending.Store(true)
	return l.result(sent, expected, cpu)
}

// settle waits for what is still on its way.
func (l *load) settle(expected int64) {
	for until := time.Now().Add(drain); time.Now().Before(until); time.Sleep(50 * time.Millisecond) {
		if l.received() >= expected {
			return
		}
	}
}

func (l *load) received() (received int64) {
	for _, c := range l.clients {
		if !c.stalled {
			received += c.received.Load()
		}
	}
	return received
}

func (l *load) result(sent int, expected int64, cpu time.Duration) result {
	l.lock.Lock()
	defer l.lock.Unlock()
	received := l.received()
	found := result{
		Event: "result", Clients: len(l.clients), Sent: sent, Expected: expected, Received: received,
		PerSecond: float64(received) / l.DurationS, Delivery: l.deliver.summary(),
		Replies: l.replies.summary(), Lateness: l.lateness.summary(), Repeated: l.repeated,
		CPU: cpu.Seconds() / l.DurationS, Failures: l.failures, Errors: l.errors,
		Go: runtime.Version(), MeasuredS: l.DurationS,
	}
	if l.Drop {
		summary := l.resumed.summary()
		found.Resumed = &summary
	}
	return found
}

// beat sends every client's heartbeat, spread evenly over the interval.
func (l *load) beat() {
	if l.HeartbeatS <= 0 {
		return
	}
	every := time.Duration(l.HeartbeatS / float64(len(l.clients)) * float64(time.Second))
	first := rand.IntN(len(l.clients))
	for number := 1; !l.ending.Load(); number++ {
		c := l.clients[(first+number)%len(l.clients)]
		if frame := l.protocol.heartbeat(c); frame != nil && !c.stalled {
			c.socket.text(frame)
		}
		time.Sleep(time.Until(l.start.Add(every * time.Duration(number))))
	}
}

// drop ends all connections without a close frame, and connects all clients again at once.
func (l *load) drop() {
	l.dropAt = time.Now()
	for _, c := range l.clients {
		c.dropped = true
		c.socket.conn.Close()
	}
	for _, c := range l.clients {
		go func() {
			if err := c.connect(); err != nil {
				l.failed("resume", []byte(err.Error()))
			}
		}()
	}
}

func cpuTime() time.Duration {
	var usage syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
