package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"time"
)

const (
	credentials         = "/var/run/secrets/kubernetes.io/serviceaccount"
	unhealthyAnnotation = "fake-gpu.tertium.dev/unhealthy"
)

// Node is this node's object in the API. Two calls do not need a client library of 40 MB.
type Node struct {
	url    string
	client *http.Client
}

func newNode(name string) (*Node, error) {
	host, port := os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT")
	if name == "" || host == "" {
		return nil, errors.New("NODE_NAME or KUBERNETES_SERVICE_HOST is not set: run me as the DaemonSet does")
	}
	ca, err := os.ReadFile(credentials + "/ca.crt")
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	return &Node{
		url: "https://" + net.JoinHostPort(host, port) + "/api/v1/nodes/" + name,
		client: &http.Client{
			Timeout:   5 * time.Second,
			Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}},
		},
	}, nil
}

// keep labels the node as soon as the API answers, then reports the unhealthy annotation whenever it changes.
func (n *Node) keep(ctx context.Context, labels map[string]any, unhealthy func(string)) {
	labelled, last, complaint := false, "", ""
	for {
		var err error
		if !labelled {
			err = n.patch(ctx, map[string]any{"metadata": map[string]any{"labels": labels}})
			labelled = err == nil
		}
		if err == nil {
			var now string
			if now, err = n.unhealthy(ctx); err == nil && now != last {
				log.Printf("unhealthy: %q", now)
				unhealthy(now)
				last = now
			}
		}
		if err != nil && err.Error() != complaint {
			log.Print(err)
			complaint = err.Error()
		}
		wait := time.Second
		if !labelled {
			wait = 100 * time.Millisecond
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

func (n *Node) patch(ctx context.Context, change any) error {
	body, err := json.Marshal(change)
	if err != nil {
		return err
	}
	_, err = n.call(ctx, http.MethodPatch, bytes.NewReader(body))
	return err
}

func (n *Node) unhealthy(ctx context.Context) (string, error) {
	body, err := n.call(ctx, http.MethodGet, nil)
	if err != nil {
		return "", err
	}
	var node struct {
		Metadata struct {
			Annotations map[string]string `json:"annotations"`
		} `json:"metadata"`
	}
	if err := json.Unmarshal(body, &node); err != nil {
		return "", fmt.Errorf("%s: %w", n.url, err)
	}
	return node.Metadata.Annotations[unhealthyAnnotation], nil
}

func (n *Node) call(ctx context.Context, method string, body io.Reader) ([]byte, error) {
	// Bound tokens are replaced in their file about every hour.
	token, err := os.ReadFile(credentials + "/token")
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, method, n.url, body)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", "Bearer "+string(token))
	if method == http.MethodPatch {
		request.Header.Set("Content-Type", "application/merge-patch+json")
	}
	response, err := n.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: %s: %s", method, n.url, response.Status, answer)
	}
	return answer, err
}
