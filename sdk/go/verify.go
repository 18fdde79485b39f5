package webhooks

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	defaultTolerance = 5 * time.Minute
	publicPrefix     = "whpk_"
)

// Verified is a delivery that is genuine.
type Verified struct {
	// ID is the same for every attempt: recognize duplicates by it.
	ID string

	Timestamp time.Time
}

// VerifyOptions are optional.
type VerifyOptions struct {
	// Tolerance is how old a delivery may be, or how far in the future. Default: 5 minutes.
	Tolerance time.Duration

	// Now is the time to compare with. Default: now.
	Now time.Time
}

// Verify returns the id and the time of a delivery; its error wraps ErrVerification unless one of the secrets signed it.
//
// The body is the exact bytes that were received. The secrets are the secret_key of the subscription (HMAC), or its
// public_keys (whpk_…, Ed25519); while they are rotated give the old one, too.
func Verify(body []byte, header http.Header, secrets []string, options ...VerifyOptions) (Verified, error) {
	id, sent, signatures := header.Get("webhook-id"), header.Get("webhook-timestamp"), header.Get("webhook-signature")
	for name, value := range map[string]string{"webhook-id": id, "webhook-timestamp": sent, "webhook-signature": signatures} {
		if value == "" {
			return Verified{}, fmt.Errorf("%w: the header %s is missing", ErrVerification, name)
		}
	}
	seconds, err := strconv.ParseUint(sent, 10, 62)
	if err != nil {
		return Verified{}, fmt.Errorf("%w: webhook-timestamp must be Unix time in seconds", ErrVerification)
	}
	timestamp := time.Unix(int64(seconds), 0)
	tolerance, now := defaultTolerance, time.Now()
	for _, option := range options {
		if option.Tolerance != 0 {
			tolerance = option.Tolerance
		}
		if !option.Now.IsZero() {
			now = option.Now
		}
	}
	if now.Sub(timestamp).Abs() > tolerance {
		return Verified{}, fmt.Errorf("%w: webhook-timestamp is too old, or in the future", ErrVerification)
	}
	if len(secrets) == 0 {
		return Verified{}, errors.New("secrets must have a secret")
	}
	signed := append([]byte(id+"."+sent+"."), body...)
	for _, secret := range secrets {
		matches, err := isSigned(secret, strings.Fields(signatures), signed)
		if err != nil {
			return Verified{}, err
		}
		if matches {
			return Verified{ID: id, Timestamp: timestamp}, nil
		}
	}
	return Verified{}, fmt.Errorf("%w: no signature in webhook-signature was made with one of the secrets", ErrVerification)
}

func isSigned(secret string, signatures []string, signed []byte) (bool, error) {
	version, check := "v1", isByHMAC
	if strings.HasPrefix(secret, publicPrefix) {
		version, check = "v1a", isByEd25519
	}
	for _, signature := range signatures {
		given, encoded, _ := strings.Cut(signature, ",")
		decoded, err := base64.StdEncoding.DecodeString(encoded)
		if given != version || err != nil {
			continue
		}
		if matches, err := check(secret, decoded, signed); matches || err != nil {
			return matches, err
		}
	}
	return false, nil
}

func isByHMAC(secret string, given, signed []byte) (bool, error) {
	key := []byte(secret)
	for _, prefix := range []string{"v1,whsec_", "whsec_"} {
		encoded, found := strings.CutPrefix(secret, prefix)
		if !found {
			continue
		}
		decoded, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil {
			return false, fmt.Errorf("the secret must be base64 after %s", prefix)
		}
		key = decoded
		break
	}
	mac := hmac.New(sha256.New, key)
	mac.Write(signed)
	return hmac.Equal(mac.Sum(nil), given), nil
}

func isByEd25519(publicKey string, given, signed []byte) (bool, error) {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(publicKey, publicPrefix))
	if err != nil || len(key) != ed25519.PublicKeySize {
		return false, errors.New("a public key must be whpk_ and the base64 of 32 bytes")
	}
	return ed25519.Verify(key, signed, given), nil
}
