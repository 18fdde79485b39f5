package webhooks

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"slices"
	"time"
)

const (
	defaultMaxDeliveries = 10
	defaultPullWait      = 20 * time.Second
	defaultLease         = 60 * time.Second
	reports              = 5
	maxMessage           = 500
)

// Refusals that pass, or in which nobody knows; others end the loop.
var passing = []int{
	http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
	http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout,
}

// ErrLeaseExpired is wrapped by the error of a result that was not recorded, because the lease had ended before: the
// delivery is retried, here or elsewhere.
var ErrLeaseExpired = errors.New("the result was not recorded")

// PullOptions are optional.
type PullOptions struct {
	// MaxDeliveries is the most to lease at once. Default: 10.
	MaxDeliveries int

	// Wait is how long the service waits for the first delivery. Default: 20 seconds.
	Wait time.Duration

	// Lease is how long a delivery is leased. Default: 60 seconds.
	Lease time.Duration
}

// Pulled is a delivery that is leased: report a result before its lease ends.
type Pulled struct {
	// ID is the same for every attempt: recognize duplicates by it.
	ID      string
	EventID string

	// EventType is empty if the event has none.
	EventType string

	// Attempt is the number of the attempt, from 1.
	Attempt int64

	LeaseExpiresAt time.Time

	// Header has the headers as they would be sent to a target, signatures included.
	Header http.Header

	// Payload has the exact bytes.
	Payload []byte

	subscriptions *SubscriptionsResource
	subscription  string
	token         string
	began         time.Time
}

// Pull yields the deliveries of a subscription whose destination is pull, until ctx is done.
//
// It waits while there are none, and while the service is away. Other refusals are yielded as the error, and end it. A
// delivery whose lease ends without a result is retried, so nothing is lost when a consumer stops.
func (c *Client) Pull(ctx context.Context, subscriptionID string, options PullOptions) iter.Seq2[*Pulled, error] {
	most := int64(defaultMaxDeliveries)
	if options.MaxDeliveries > 0 {
		most = int64(options.MaxDeliveries)
	}
	wait, lease := defaultPullWait.Seconds(), defaultLease.Seconds()
	if options.Wait > 0 {
		wait = options.Wait.Seconds()
	}
	if options.Lease > 0 {
		lease = options.Lease.Seconds()
	}
	body := PullBody{MaxDeliveries: &most, WaitSeconds: &wait, LeaseSeconds: &lease}
	return func(yield func(*Pulled, error) bool) {
		for failures := 0; ctx.Err() == nil; {
			found, err := c.Subscriptions.Pull(ctx, subscriptionID, body)
			if err != nil {
				failures++
				if ctx.Err() == nil && !isPassing(err) {
					yield(nil, err)
					return
				}
				pause(ctx, failures)
				continue
			}
			failures = 0
			for _, delivery := range found.Deliveries {
				pulled, err := c.pulled(subscriptionID, delivery)
				if !yield(pulled, err) || err != nil {
					return
				}
			}
		}
	}
}

func (c *Client) pulled(subscription string, delivery PulledDelivery) (*Pulled, error) {
	payload, err := base64.StdEncoding.DecodeString(delivery.PayloadBase64)
	if err != nil {
		return nil, fmt.Errorf("the payload of delivery %s is not base64: %w", delivery.ID, err)
	}
	found := &Pulled{
		ID:             delivery.ID,
		EventID:        delivery.EventID,
		Attempt:        delivery.Attempt,
		LeaseExpiresAt: delivery.LeaseExpiresAt,
		Header:         http.Header{},
		Payload:        payload,
		subscriptions:  c.Subscriptions,
		subscription:   subscription,
		token:          delivery.LeaseToken,
		began:          time.Now(),
	}
	if delivery.EventType != nil {
		found.EventType = *delivery.EventType
	}
	for name, value := range delivery.Headers {
		found.Header.Set(name, value)
	}
	return found, nil
}

// JSON decodes the payload.
func (p *Pulled) JSON(into any) error { return json.Unmarshal(p.Payload, into) }

// Succeed reports that the delivery is delivered.
func (p *Pulled) Succeed(ctx context.Context) error {
	return p.report(ctx, PullResult{Outcome: PullOutcomeSuccess, DurationMs: p.spent()})
}

// Fail reports that the attempt failed; it is retried by the retry policy.
func (p *Pulled) Fail(ctx context.Context, message string) error {
	if runes := []rune(message); len(runes) > maxMessage {
		message = string(runes[:maxMessage])
	}
	return p.report(ctx, PullResult{Outcome: PullOutcomeFailure, Message: &message, DurationMs: p.spent()})
}

// Extend extends the lease, to this long from now on.
func (p *Pulled) Extend(ctx context.Context, lease time.Duration) error {
	seconds := lease.Seconds()
	return p.report(ctx, PullResult{Outcome: PullOutcomeExtend, LeaseSeconds: &seconds})
}

func (p *Pulled) spent() *int64 {
	spent := time.Since(p.began).Milliseconds()
	return &spent
}

func (p *Pulled) report(ctx context.Context, result PullResult) error {
	result.DeliveryID, result.LeaseToken = p.ID, p.token
	for attempt := 1; ; attempt++ {
		reported, err := p.subscriptions.Report(ctx, p.subscription, PullResultsBody{Results: []PullResult{result}})
		switch {
		case err != nil && (attempt == reports || ctx.Err() != nil || !isPassing(err)):
			return err
		case err != nil:
			pause(ctx, attempt) // a repeated report changes nothing
		case len(reported.Results) != 1:
			return fmt.Errorf("the response has %d results for delivery %s", len(reported.Results), p.ID)
		case reported.Results[0].Status != PullResultStatusRecorded:
			return fmt.Errorf("%w: delivery %s is %s", ErrLeaseExpired, p.ID, reported.Results[0].Status)
		default:
			return nil
		}
	}
}

// isPassing returns whether the same request may succeed later.
func isPassing(err error) bool {
	var refused *APIError
	if errors.As(err, &refused) {
		return slices.Contains(passing, refused.Status)
	}
	var lost *ConnectionError
	return errors.As(err, &lost)
}

// pause waits after so many failures in a row, unless ctx ends before.
func pause(ctx context.Context, failures int) {
	select {
	case <-ctx.Done():
	case <-time.After(min(maxDelay, firstDelay<<min(failures-1, 10))):
	}
}
