// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net"
	"sync"
	"sync/atomic"
)

// A gate is a connection that can go silent: nothing is read or written any more, and it stays. As when a
// network loses everything, which no end of the connection tells.
type gate struct {
	net.Conn
	frozen atomic.Bool
	once   sync.Once
	shut   chan struct{}
}

type gates struct{ net.Listener }

func (l gates) Accept() (net.Conn, error) {
	connection, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &gate{Conn: connection, shut: make(chan struct{})}, nil
}

func (g *gate) pass() {
	if g.frozen.Load() {
		<-g.shut
	}
}

func (g *gate) Read(buffer []byte) (int, error) {
	count, err := g.Conn.Read(buffer)
	g.pass()
	return count, err
}

func (g *gate) Write(buffer []byte) (int, error) {
	g.pass()
	return g.Conn.Write(buffer)
}

func (g *gate) Close() error {
	g.once.Do(func() { close(g.shut) })
	return g.Conn.Close()
}

// halfClose ends what the peer reads, and goes on reading; without a word of TLS.
func (g *gate) halfClose() {
	if tcp, ok := g.Conn.(*net.TCPConn); ok {
		_ = tcp.CloseWrite()
	}
}
