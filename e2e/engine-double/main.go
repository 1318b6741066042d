// Engine-double stands in for vLLM where only its behaviour towards the outside counts: benchmarks of what is
// around the engine, and faults that a real engine does not show on request. It computes nothing.
//
// It is started with the command line of `vllm serve` and heeds the model (first argument), --served-model-name,
// --host, --port, --tensor-parallel-size, --max-model-len, --max-num-seqs, --shutdown-timeout and
// --enable-force-include-usage. Every other option is taken and ignored.
//
// Like vLLM it does not listen before it is up. It answers /health, /version, /metrics and /v1/models; JSON and SSE at
// /v1/chat/completions, /v1/completions, /v1/responses, /v1/messages and /v1/audio/transcriptions; JSON at
// /v1/messages/count_tokens, /v1/embeddings, /rerank, /score, /tokenize and /detokenize; all in the shapes of vLLM 0.32.
// On SIGTERM it goes on with running requests for --shutdown-timeout seconds, in which /health stays 200 and new
// requests get 500.
//
// The environment sets what a real engine's hardware would:
//
//	DOUBLE_BOOT_SECONDS       seconds until it listens (0)
//	DOUBLE_TTFT_MILLIS        milliseconds to the first token of a request (0)
//	DOUBLE_TOKENS_PER_SECOND  tokens per second of a request after the first; 0 is at once (0)
//	DOUBLE_MAX_TOKENS         tokens of an answer for which the request names no number (16)
//	DOUBLE_FAULT              one of
//	    crash_on_boot=MESSAGE   fails when the boot time is over, in the words of a vLLM whose engine failed
//	    hang_on_boot            never listens
//	    error_500_every=N       every Nth request for an answer gets 500
//	    reset_every=N           every Nth one loses its connection, a stream after half of its tokens
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	options, err := parseOptions(os.Args[1:], os.Getenv)
	if err != nil {
		fmt.Fprintln(os.Stderr, "engine-double: error:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, options, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
