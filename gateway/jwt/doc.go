// Package jwt signs in the clients of a gateway by JSON Web Tokens: who a client is, until
// when, and what it may read and follow.
//
//	v, err := jwt.New(jwt.Config{
//		URL:      "https://id.example.org/jwks.json",
//		Issuer:   "https://id.example.org",
//		Audience: []string{"trains"},
//		SignIn:   10 * time.Second,
//	})
//	h, err := gateway.New(pool, gateway.Config{
//		Channels:     []gateway.Channel{{Pattern: "trains.*"}},
//		Authenticate: v.Authenticate,
//		Refresh:      v.Refresh,
//		Allow:        v.Allow,
//	})
//
// In the browser, which can't send headers with a WebSocket:
//
//	ws = new WebSocket("wss://example.org/ws")
//	ws.onopen = () => ws.send("AUTH " + token)    // and again before the token expires
//	ws.send("SUB trains.regional")
//
// The claims of a token:
//
//	{"iss": "https://id.example.org", "aud": "trains", "sub": "ada", "exp": 1790000000,
//	 "channels": ["trains.*"], "keys": ["trains.regional"], "publish": []}
//
// # Guarantees
//
//   - A token must be signed with HS256, RS256, ES256 or EdDSA by a known key. The type of
//     a key decides its algorithm: a token can choose neither another algorithm nor none.
//     Keys inside a token, or at an address in it, are not used.
//   - A token must have an expiry and a name. Config.Issuer and Audience are checked when
//     they are set.
//   - What lists nothing allows nothing: without the claim channels a client may follow no
//     channel. The same holds for keys and publish. Claims narrow what Config.Channels and
//     Keys of the gateway allow, and never extend it.
//   - The connection is closed with 4001 when its token expires, plus Config.Leeway. AUTH
//     with a newer token of the same name renews it, and its grants apply from then on.
//   - A key set is read again when a token names an unknown key, at most once per
//     Limits.Interval, and by the first token after Limits.MaxAge. A new key works within
//     Interval; a withdrawn key stops working at the next read. One goroutine at a time
//     reads it: that of the token that caused the read. Other tokens of known keys don't
//     wait.
//   - While the key set can't be read, the keys of the last read stay in use.
//   - Errors and log lines don't contain tokens.
//
// # Tasks
//
//   - To verify with fixed keys, see [Config].Keys and [Key]; with a key set, URL and File.
//   - To take the name or grants from other claims, see [Claims].
//   - To accept tokens in the URL or the subprotocol, see [Config].Query and Subprotocol.
//   - To decide by other claims, see [Token].Claims: Principal.Data is a *Token.
//   - To use it without a gateway, see [Verifier.Verify].
//   - To bound what tokens and key sets cost, see [Limits]; to count, [Verifier.Stats].
//
// README.md has what is read from tokens and key sets exactly, and the threats.
package jwt
