package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// client is one connection to one target.
type client struct {
	host    string
	timeout time.Duration
	stream  bool

	connection net.Conn
	reader     *bufio.Reader
	buffer     []byte
}

// answer is how one request went. Times count from the moment it was due.
type answer struct {
	first time.Duration // to the first byte of the body
	last  time.Duration
	err   error
}

func newClient(host string, timeout time.Duration, stream bool) *client {
	return &client{host: host, timeout: timeout, stream: stream, buffer: make([]byte, 64<<10)}
}

func (c *client) close() {
	if c.connection != nil {
		c.connection.Close()
		c.connection = nil
	}
}

// ask sends the bytes of a request and reads its answer to the end.
func (c *client) ask(request []byte, due time.Time) answer {
	a, keep := c.try(request, due)
	if a.err != nil || !keep {
		c.close()
	}
	return a
}

func (c *client) try(request []byte, due time.Time) (answer, bool) {
	if c.connection == nil {
		connection, err := net.DialTimeout("tcp", c.host, c.timeout)
		if err != nil {
			return answer{err: errors.New("no connection")}, false
		}
		c.connection, c.reader = connection, bufio.NewReaderSize(connection, 16<<10)
	}
	_ = c.connection.SetDeadline(time.Now().Add(c.timeout))
	if _, err := c.connection.Write(request); err != nil {
		return answer{err: named("not sent", err)}, false
	}
	response, err := http.ReadResponse(c.reader, nil)
	if err != nil {
		return answer{err: named("no answer", err)}, false
	}
	defer response.Body.Close()
	a, end := c.read(response.Body, due)
	switch {
	case response.StatusCode != http.StatusOK:
		a.err = fmt.Errorf("HTTP %d", response.StatusCode)
	case a.err != nil:
		a.err = named("answer broken off", a.err)
	case c.stream && !bytes.HasSuffix(bytes.TrimSpace(end), []byte("data: [DONE]")):
		a.err = errors.New("stream without an end")
	case !c.stream && !bytes.Contains(end, []byte(`"choices"`)):
		a.err = errors.New("200 without choices")
	}
	return a, !response.Close
}

// read takes a body in and returns its last bytes too, some thousands at most.
func (c *client) read(body io.Reader, due time.Time) (answer, []byte) {
	var a answer
	filled := 0
	for {
		if filled == len(c.buffer) {
			filled = copy(c.buffer, c.buffer[len(c.buffer)-4096:])
		}
		n, err := body.Read(c.buffer[filled:])
		if n > 0 && a.first == 0 {
			a.first = time.Since(due)
		}
		filled += n
		if err == io.EOF {
			a.last = time.Since(due)
			return a, c.buffer[:filled]
		}
		if err != nil {
			a.err = err
			return a, nil
		}
	}
}

// named makes few kinds out of many errors, which name ports.
func named(what string, err error) error {
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return errors.New(what + ": timeout")
	}
	return errors.New(what)
}
