package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// protocol is how one kind of server is spoken to.
type protocol interface {
	// open joins the client's rooms; called once, before reading.
	open(c *client) error
	// answer handles a frame that carries no measured message; it may reply.
	answer(c *client, text []byte)
	// message returns the frame that sends a text to the client's first room.
	message(c *client, ref, text string) []byte
	// heartbeat returns the frame that keeps the connection open, or nil.
	heartbeat(c *client) []byte
	// acknowledge returns the frame that acknowledges a message, or nil.
	acknowledge(c *client, frame []byte) []byte
}

func protocolOf(name string) (protocol, error) {
	switch name {
	case "plain":
		return plain{}, nil
	case "phoenix":
		return phoenix{}, nil
	case "centrifuge":
		return centrifuge{}, nil
	case "socketio":
		return socketio{}, nil
	}
	return nil, fmt.Errorf("no protocol %q", name)
}

func quoted(text string) string {
	encoded, _ := json.Marshal(text)
	return string(encoded)
}

// plain: the server sends every text frame to everybody; nothing is joined.
type plain struct{}

func (plain) open(c *client) error                     { c.joined(len(c.Rooms)); return nil }
func (plain) answer(*client, []byte)                   {}
func (plain) message(_ *client, _, text string) []byte { return []byte(text) }
func (plain) heartbeat(*client) []byte                 { return nil }
func (plain) acknowledge(*client, []byte) []byte       { return nil }

// phoenix: AshChat's protocol 2 (docs/reference/protocol.md).
type phoenix struct{}

func (phoenix) open(c *client) error {
	for number, room := range c.Rooms {
		payload := "{}"
		if strings.HasPrefix(room, "chat:") {
			payload = `{"protocol":2}`
			if rev := c.rev.Load(); rev >= 0 && number == 0 {
				payload = fmt.Sprintf(`{"protocol":2,"since":%d}`, rev)
			}
		}
		ref := strconv.Itoa(number + 1)
		frame := fmt.Sprintf(`["%s","%s",%s,"phx_join",%s]`, ref, ref, quoted(room), payload)
		if err := c.socket.text([]byte(frame)); err != nil {
			return err
		}
	}
	return nil
}

var (
	phxReply  = []byte(`,"phx_reply",`)
	statusOK  = []byte(`"status":"ok"`)
	revMember = []byte(`"rev":`)
	nMember   = []byte(`"n":`)
)

func (phoenix) answer(c *client, text []byte) {
	if !bytes.Contains(text, phxReply) {
		return
	}
	ref := referenceOf(text)
	number, err := strconv.Atoi(ref)
	switch {
	case err == nil && number >= 1 && number <= len(c.Rooms):
		if !bytes.Contains(text, statusOK) {
			c.load.failed("join", text)
			return
		}
		if rev := numberAfter(text, revMember); rev >= 0 && number == 1 {
			c.rev.CompareAndSwap(-1, int64(rev))
		}
		c.joined(1)
	case len(ref) > 1 && ref[0] == 'm':
		c.acknowledged(ref, bytes.Contains(text, statusOK), text)
	}
}

// referenceOf returns the second member of a frame, a string.
func referenceOf(text []byte) string {
	_, rest, _ := bytes.Cut(text, []byte(`,"`))
	ref, _, _ := bytes.Cut(rest, []byte(`"`))
	return string(ref)
}

// numberAfter returns the number behind the last such member, -1 if there is none.
func numberAfter(text, member []byte) int {
	at := bytes.LastIndex(text, member)
	if at < 0 {
		return -1
	}
	rest := text[at+len(member):]
	end := 0
	for end < len(rest) && rest[end] >= '0' && rest[end] <= '9' {
		end++
	}
	number, err := strconv.Atoi(string(rest[:end]))
	if err != nil {
		return -1
	}
	return number
}

func (phoenix) message(c *client, ref, text string) []byte {
	return fmt.Appendf(nil, `["1","%s",%s,"send_message",{"content":%s,"mobile_ref_id":"%s-%d-%s"}]`,
		ref, quoted(c.Rooms[0]), quoted(text), c.load.Run, c.number, ref)
}

func (phoenix) heartbeat(*client) []byte {
	return []byte(`[null,"h","phoenix","heartbeat",{}]`)
}

func (phoenix) acknowledge(c *client, frame []byte) []byte {
	position, name := numberAfter(frame, nMember), "n"
	if position < 0 {
		position, name = numberAfter(frame, revMember), "rev"
	}
	return fmt.Appendf(nil, `["1","a","%s","ack",{"%s":%d}]`, c.Rooms[0], name, position)
}

// centrifuge: the JSON protocol of the centrifuge library.
type centrifuge struct{}

func (centrifuge) open(c *client) error {
	if err := c.socket.text([]byte(`{"id":1,"connect":{}}`)); err != nil {
		return err
	}
	for number, room := range c.Rooms {
		frame := fmt.Sprintf(`{"id":%d,"subscribe":{"channel":%s}}`, number+2, quoted(room))
		if err := c.socket.text([]byte(frame)); err != nil {
			return err
		}
	}
	return nil
}

func (centrifuge) answer(c *client, text []byte) {
	for _, line := range bytes.Split(text, []byte("\n")) {
		switch {
		case bytes.Equal(bytes.TrimSpace(line), []byte("{}")):
			c.socket.text([]byte("{}"))
		case bytes.Contains(line, []byte(`"error"`)):
			c.load.failed("reply", line)
		case bytes.Contains(line, []byte(`"subscribe"`)):
			c.joined(1)
		}
	}
}

func (centrifuge) message(c *client, _, text string) []byte {
	return fmt.Appendf(nil, `{"id":9,"publish":{"channel":%s,"data":{"text":%s}}}`,
		quoted(c.Rooms[0]), quoted(text))
}

func (centrifuge) heartbeat(*client) []byte           { return nil }
func (centrifuge) acknowledge(*client, []byte) []byte { return nil }

// socketio: Engine.IO 4 over WebSocket, Socket.IO 5.
type socketio struct{}

func (socketio) open(c *client) error { return c.socket.text([]byte("40")) }

func (socketio) answer(c *client, text []byte) {
	switch {
	case bytes.HasPrefix(text, []byte("40")):
		c.joined(len(c.Rooms))
	case bytes.Equal(text, []byte("2")):
		c.socket.text([]byte("3"))
	}
}

func (socketio) message(_ *client, _, text string) []byte {
	return fmt.Appendf(nil, `42["message",%s]`, quoted(text))
}

func (socketio) heartbeat(*client) []byte           { return nil }
func (socketio) acknowledge(*client, []byte) []byte { return nil }
