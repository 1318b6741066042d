package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

// run boots, serves until ctx ends, and drains. The error is what the engine died of.
func run(ctx context.Context, o options, log io.Writer) error {
	fmt.Fprintf(log, "engine-double: model='%s', tensor_parallel_size=%d, max_seq_len=%d, boot %v, fault %q\n",
		o.model, o.tensorParallel, o.maxModelLen, o.boot, o.fault.kind)
	if !sleep(ctx, o.boot) {
		return nil
	}
	switch o.fault.kind {
	case crashOnBoot:
		fmt.Fprint(log, engineFailure(o.fault.message, time.Now()))
		return errors.New("RuntimeError: Engine core initialization failed. See root cause above. " +
			"Failed core proc(s): {'EngineCore': 1}")
	case hangOnBoot:
		<-ctx.Done()
		return nil
	}
	listener, err := net.Listen("tcp", o.address)
	if err != nil {
		return fmt.Errorf("OSError: %w", err)
	}
	// What outlives ctx: requests that run when SIGTERM comes.
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	engine := newEngine(life, o)
	server := &http.Server{Handler: newHandler(engine)}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	fmt.Fprintf(log, "engine-double: listening on %s\n", listener.Addr())

	select {
	case err := <-failed:
		return fmt.Errorf("OSError: %w", err)
	case <-ctx.Done():
	}
	fmt.Fprintf(log, "engine-double: [shutdown] %d requests, timeout %v\n", engine.unfinished(), o.shutdownTimeout)
	engine.drain(o.shutdownTimeout)
	end()
	// What was cut short still gets its last bytes; who does not read them waits in vain.
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = server.Shutdown(closing)
	return nil
}

// engineFailure is the log of a vLLM whose engine process failed, as its API server process prints it.
func engineFailure(message string, now time.Time) string {
	if !strings.Contains(message, "Error: ") {
		message = "RuntimeError: " + message
	}
	prefix := fmt.Sprintf("(EngineCore pid=%d) ERROR %s [core.py:1510] ", os.Getpid()+1, now.Format("01-02 15:04:05"))
	var log strings.Builder
	for _, line := range []string{
		"EngineCore failed to start.",
		"Traceback (most recent call last):",
		`  File "/usr/local/lib/python3.12/dist-packages/vllm/v1/engine/core.py", line 1484, in run_engine_core`,
		"    engine_core = EngineCoreProc(*args, engine_index=dp_rank, **kwargs)",
		message,
	} {
		log.WriteString(prefix + line + "\n")
	}
	log.WriteString("Traceback (most recent call last):\n")
	return log.String()
}

// sleep waits, and says whether it waited to the end.
func sleep(ctx context.Context, duration time.Duration) bool {
	if duration <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(duration)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
