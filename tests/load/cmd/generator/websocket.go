package main

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

const (
	opText  = 0x1
	opClose = 0x8
	opPing  = 0x9
	opPong  = 0xA

	firstBufferBytes = 4 << 10
	maxBufferBytes   = 1 << 20
	dialTimeout      = 20 * time.Second
	writeTimeout     = 10 * time.Second
)

// socket is one WebSocket connection (RFC 6455), reduced to what a load needs: text frames, no
// extensions, an answer to pings.
type socket struct {
	conn  net.Conn
	early []byte // what arrived with the handshake's response
	lock  sync.Mutex
	out   []byte
}

// dial opens a WebSocket. It refuses addresses that are not this machine's own.
func dial(target *url.URL, subprotocols []string) (*socket, error) {
	host := target.Hostname()
	if address := net.ParseIP(host); address == nil || !address.IsLoopback() {
		return nil, fmt.Errorf("%s is not a loopback address", host)
	}
	conn, err := net.DialTimeout("tcp", target.Host, dialTimeout)
	if err != nil {
		return nil, err
	}
	made, err := handshake(conn, target, subprotocols)
	if err != nil {
		conn.Close()
		return nil, err
	}
	return made, nil
}

func handshake(conn net.Conn, target *url.URL, subprotocols []string) (*socket, error) {
	key := make([]byte, 16)
	rand.Read(key)
	var head strings.Builder
	fmt.Fprintf(&head, "GET %s HTTP/1.1\r\nHost: %s\r\n", target.RequestURI(), target.Host)
	head.WriteString("Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n")
	fmt.Fprintf(&head, "Sec-WebSocket-Key: %s\r\n", base64.StdEncoding.EncodeToString(key))
	if len(subprotocols) > 0 {
		fmt.Fprintf(&head, "Sec-WebSocket-Protocol: %s\r\n", strings.Join(subprotocols, ", "))
	}
	head.WriteString("\r\n")
	conn.SetDeadline(time.Now().Add(dialTimeout))
	if _, err := io.WriteString(conn, head.String()); err != nil {
		return nil, err
	}
	reader := bufio.NewReaderSize(conn, firstBufferBytes)
	response, err := http.ReadResponse(reader, nil)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusSwitchingProtocols {
		body, _ := io.ReadAll(io.LimitReader(response.Body, 300))
		return nil, fmt.Errorf("refused: %s %s", response.Status, bytes.TrimSpace(body))
	}
	early, _ := reader.Peek(reader.Buffered())
	conn.SetDeadline(time.Time{})
	return &socket{conn: conn, early: bytes.Clone(early)}, nil
}

// write sends one masked frame. The mask is zero: it hides nothing on loopback, and costs nothing.
func (s *socket) write(opcode byte, payload []byte) error {
	s.lock.Lock()
	defer s.lock.Unlock()
	out := append(s.out[:0], 0x80|opcode)
	switch size := len(payload); {
	case size < 126:
		out = append(out, 0x80|byte(size))
	case size < 1<<16:
		out = append(out, 0x80|126, byte(size>>8), byte(size))
	default:
		out = append(out, 0x80|127)
		out = binary.BigEndian.AppendUint64(out, uint64(size))
	}
	out = append(out, 0, 0, 0, 0)
	s.out = append(out, payload...)
	s.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	_, err := s.conn.Write(s.out)
	return err
}

func (s *socket) text(payload []byte) error { return s.write(opText, payload) }

// read calls heard for each text frame until the connection ends; it returns why.
func (s *socket) read(heard func(text []byte)) error {
	buffer := make([]byte, firstBufferBytes)
	filled := copy(buffer, s.early)
	s.early = nil
	for {
		used, err := s.frames(buffer[:filled], heard)
		if err != nil {
			return err
		}
		filled = copy(buffer, buffer[used:filled])
		if filled == len(buffer) {
			if len(buffer) >= maxBufferBytes {
				return errors.New("a frame is larger than the buffer")
			}
			buffer = append(buffer, make([]byte, len(buffer))...)
		}
		got, err := s.conn.Read(buffer[filled:])
		if err != nil {
			return err
		}
		filled += got
		if got == len(buffer)-filled+got && len(buffer) < 1<<16 {
			// Busy: read more with each call.
			buffer = append(buffer, make([]byte, len(buffer))...)
		}
	}
}

// frames handles the whole frames in data and returns how many bytes they are.
func (s *socket) frames(data []byte, heard func([]byte)) (int, error) {
	used := 0
	for {
		rest := data[used:]
		if len(rest) < 2 {
			return used, nil
		}
		head, size := 2, int(rest[1]&0x7F)
		switch size {
		case 126:
			if len(rest) < 4 {
				return used, nil
			}
			head, size = 4, int(binary.BigEndian.Uint16(rest[2:]))
		case 127:
			if len(rest) < 10 {
				return used, nil
			}
			head, size = 10, int(binary.BigEndian.Uint64(rest[2:]))
		}
		if len(rest) < head+size {
			return used, nil
		}
		payload := rest[head : head+size]
		switch rest[0] & 0xF {
		case opPing:
			if err := s.write(opPong, payload); err != nil {
				return used, err
			}
		case opClose:
			code := 1005
			if len(payload) >= 2 {
				code = int(binary.BigEndian.Uint16(payload))
				payload = payload[2:]
			}
			return used, fmt.Errorf("closed: %d %s", code, payload)
		case opText:
			heard(payload)
		}
		used += head + size
	}
}

// stampOf returns the time in the first message of a text, and what is behind it.
func stampOf(text []byte) (time.Duration, []byte, bool) {
	at := bytes.Index(text, []byte(marker))
	if at < 0 || len(text) < at+len(marker)+stampDigits {
		return 0, nil, false
	}
	var nanoseconds int64
	digits := text[at+len(marker) : at+len(marker)+stampDigits]
	for _, digit := range digits {
		if digit < '0' || digit > '9' {
			return 0, nil, false
		}
		nanoseconds = nanoseconds*10 + int64(digit-'0')
	}
	return time.Duration(nanoseconds), text[at+len(marker)+stampDigits:], true
}
