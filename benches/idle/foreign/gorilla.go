// A server made with gorilla/websocket, on one thread: a goroutine reads and another writes, as in the
// project's own example of a chat. Arguments: interval and timeout, ms; for TLS the files of a certificate
// and its key.
package main

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/gorilla/websocket"
)

var held, written, answered, ended int64

// Buffers that fit what is expected, those for writing shared, as its documentation advises for many
// connections that seldom write.
var upgrader = websocket.Upgrader{
	ReadBufferSize:  128,
	WriteBufferSize: 128,
	WriteBufferPool: &sync.Pool{},
}

type server struct {
	interval, timeout time.Duration
}

// Returns at once, so that what served the handshake is freed.
func (s server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	conn, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	number := uint32(atomic.AddInt64(&held, 1))
	over := make(chan struct{})
	go s.read(conn, over)
	go s.write(conn, over, number)
}

func (s server) read(conn *websocket.Conn, over chan struct{}) {
	hear := func(string) error {
		return conn.SetReadDeadline(time.Now().Add(s.timeout))
	}
	hear("")
	conn.SetPongHandler(func(payload string) error {
		atomic.AddInt64(&answered, 1)
		return hear(payload)
	})
	for {
		if _, _, err := conn.ReadMessage(); err != nil {
			break
		}
	}
	close(over)
	conn.Close()
	atomic.AddInt64(&held, -1)
	atomic.AddInt64(&ended, 1)
}

func (s server) write(conn *websocket.Conn, over chan struct{}, number uint32) {
	// Golden-ratio steps spread the intervals of connections that come at once.
	phase := float64(number*0x9E3779B9) / (1 << 32)
	time.Sleep(time.Duration(phase * float64(s.interval)))
	ticker := time.NewTicker(s.interval)
	defer ticker.Stop()
	for {
		conn.SetWriteDeadline(time.Now().Add(s.timeout))
		if err := conn.WriteMessage(websocket.PingMessage, []byte{1, 2, 3, 4}); err != nil {
			conn.Close()
			return
		}
		atomic.AddInt64(&written, 1)
		select {
		case <-ticker.C:
		case <-over:
			return
		}
	}
}

func look() {
	var usage syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	fmt.Printf(`{"numbers":{"held":%d,"written":%d,"answered":%d,"ended":%d,"cpu":%d},"times":{}}`+"\n",
		atomic.LoadInt64(&held), atomic.LoadInt64(&written), atomic.LoadInt64(&answered),
		atomic.LoadInt64(&ended), usage.Utime.Nano()+usage.Stime.Nano())
}

func milliseconds(argument string) time.Duration {
	count, err := strconv.Atoi(argument)
	if err != nil {
		panic(err)
	}
	return time.Duration(count) * time.Millisecond
}

func main() {
	runtime.GOMAXPROCS(1)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(listener.Addr())
	handler := server{milliseconds(os.Args[1]), milliseconds(os.Args[2])}
	if len(os.Args) > 3 {
		go http.ServeTLS(listener, handler, os.Args[3], os.Args[4])
	} else {
		go http.Serve(listener, handler)
	}
	for commands := bufio.NewScanner(os.Stdin); commands.Scan(); {
		look()
	}
}
