// SPDX-License-Identifier: MIT

// The benchmarks of the scheduler and of the channels in Go: goroutines and channels.
// peer_go CASE WORKERS [N] prints "ns NANOSECONDS".
//
// WORKERS is GOMAXPROCS; the outside case has one more, for the submitter, as ours has.
package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync"
	"time"
)

type message struct{ w [6]uint64 } // 48 bytes

const slots = 1024

func submit(n int) {
	var wg sync.WaitGroup
	wg.Add(n)
	for i := 0; i < n; i++ {
		go wg.Done()
	}
	wg.Wait()
}

// Work handed to goroutines that stay, over a channel: the other way to submit in Go.
func submitChannel(n int) {
	var wg sync.WaitGroup
	work := make(chan message, slots)
	for w := 1; w < runtime.GOMAXPROCS(0); w++ {
		wg.Add(1)
		go func() {
			for range work {
			}
			wg.Done()
		}()
	}
	for i := 0; i < n; i++ {
		work <- message{}
	}
	close(work)
	wg.Wait()
}

func link(left int, done chan bool) {
	if left == 0 {
		done <- true
		return
	}
	go link(left-1, done)
}

func chain(n int) {
	done := make(chan bool)
	go link(n, done)
	<-done
}

func fan(n int) {
	var wg sync.WaitGroup
	wg.Add(n + 1)
	go func() {
		for i := 0; i < n; i++ {
			go wg.Done()
		}
		wg.Done()
	}()
	wg.Wait()
}

func consume(c chan message, n int, wg *sync.WaitGroup) {
	for i := 0; i < n; i++ {
		if m := <-c; m.w[0] != uint64(i) {
			panic("out of order")
		}
	}
	wg.Done()
}

func emit(n, consumers int) {
	var wg sync.WaitGroup
	chans := make([]chan message, consumers)
	for i := range chans {
		chans[i] = make(chan message, slots)
		wg.Add(1)
		go consume(chans[i], n, &wg)
	}
	wg.Add(1)
	go func() {
		for i := 0; i < n; i++ {
			m := message{}
			m.w[0] = uint64(i)
			for _, c := range chans {
				c <- m
			}
		}
		wg.Done()
	}()
	wg.Wait()
}

type bench struct {
	run     func(int)
	n       int
	outside int
}

func main() {
	benches := map[string]bench{
		"submit":         {submit, 300000, 1},
		"submit-channel": {submitChannel, 500000, 1},
		"chain":          {chain, 1000000, 0},
		"fan":            {fan, 300000, 0},
		"p2p":            {func(n int) { emit(n, 1) }, 1000000, 0},
		"fanout":         {func(n int) { emit(n, 3) }, 500000, 0},
	}
	if len(os.Args) >= 3 {
		workers, err := strconv.Atoi(os.Args[2])
		if b, ok := benches[os.Args[1]]; ok && err == nil {
			if len(os.Args) > 3 {
				b.n, _ = strconv.Atoi(os.Args[3])
			}
			runtime.GOMAXPROCS(workers + b.outside)
			b.run(b.n / 10)
			start := time.Now()
			b.run(b.n)
			fmt.Printf("ns %.3f\n", float64(time.Since(start).Nanoseconds())/float64(b.n))
			return
		}
	}
	fmt.Fprintf(os.Stderr, "usage: %s submit|submit-channel|chain|fan|p2p|fanout WORKERS [N]\n", os.Args[0])
	os.Exit(2)
}
