package webhooks

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"
)

// Publish, receive, verify and list, with the service at WEBHOOK_URL and in a tenant of its own, WEBHOOK_TENANT.
func TestService(t *testing.T) {
	address := os.Getenv("WEBHOOK_URL")
	if address == "" {
		t.Skip("WEBHOOK_URL is not set")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	client := New(address, WithTenant(os.Getenv("WEBHOOK_TENANT")))

	type delivery struct {
		header http.Header
		body   []byte
	}
	deliveries := make(chan delivery, 10)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, request *http.Request) {
		body, _ := io.ReadAll(request.Body)
		deliveries <- delivery{request.Header, body}
	}))
	defer receiver.Close()

	target := receiver.URL + "/hook"
	subscription, err := client.Subscriptions.Create(ctx, SubscriptionBody{TargetURL: &target, EventTypes: []string{"go.*"}})
	if err != nil {
		t.Fatal(err)
	}
	published, err := client.Events.Publish(ctx, EventBody{EventType: "go.published", Payload: json.RawMessage(`{"n":1.0}`)})
	if err != nil {
		t.Fatal(err)
	}
	select {
	case received := <-deliveries:
		if _, err := Verify(received.body, received.header, []string{*subscription.SecretKey}); err != nil {
			t.Error(err)
		}
		if string(received.body) != `{"n":1.0}` {
			t.Errorf("the body is %s", received.body)
		}
	case <-ctx.Done():
		t.Fatal("nothing was delivered")
	}
	found := 0
	for listed, err := range client.Subscriptions.Deliveries(ctx, subscription.ID, SubscriptionsDeliveriesParams{}) {
		if err != nil {
			t.Fatal(err)
		}
		if listed.EventID == published.EventID {
			found++
		}
	}
	if found != 1 {
		t.Errorf("the list has the delivery %d times", found)
	}

	var header http.Header
	described := "changed"
	changed, err := client.Subscriptions.Update(ctx, subscription.ID, SubscriptionPatch{Description: &described, Null: []string{"event_types"}}, CaptureHeader(&header))
	if err != nil || changed.Description != "changed" || len(changed.EventTypes) != 0 || header.Get("ETag") == "" {
		t.Errorf("%v, %v", changed, err)
	}
	if err := client.Subscriptions.Delete(ctx, subscription.ID, WithIfMatch(header.Get("ETag"))); err != nil {
		t.Fatal(err)
	}
	var refused *APIError
	if _, err := client.Subscriptions.Get(ctx, subscription.ID); !errors.As(err, &refused) || refused.Status != http.StatusNotFound {
		t.Errorf("the error is %v", err)
	}
}
