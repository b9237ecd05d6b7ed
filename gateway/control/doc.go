// Package control has commands for a gateway by which browsers call workers, submit jobs,
// and read, set and watch keywords.
//
//	h, err := gateway.New(pool, gateway.Config{
//		Commands: control.Commands(control.Config{
//			Bus: busClient, Keywords: keywordsClient,
//			Allow: func(ctx context.Context, c *gateway.Conn, op control.Operation) bool {
//				return op.Kind == control.Call && op.Type == "calc"
//			},
//		}),
//	})
//
// In the page, by heliograph.js (package gateway/client):
//
//	await h.call("calc", "add", { a: 1, b: 2 })
//	for await (const line of h.stream("calc", "tail", { n: 10 })) …
//	await h.keyword("stage.SPEED").set(3.5)
//	for await (const event of h.keyword("stage.SPEED").watch()) …
//	await h.waitFor("$stage.SPEED > 3")
//
// # Guarantees
//
//   - Nothing is allowed that Config.Allow does not allow, which is asked for each
//     operation. Without it nothing is. What is not allowed looks like what does not
//     exist: the error is forbidden for both.
//   - Errors keep their codes: those of package bus, of a handler's own, of package
//     keywords, and no_workers, worker_lost, no_dispatcher, timeout and the others of
//     README.md. What Redis or Go says goes to the gateway's log only.
//   - Commands run beside each other, at most Limits.Running for each connection. Each
//     ends after Config.Timeout, except STREAM, WATCH and WAIT, and all end with CANCEL and
//     with the connection. The context of a handler, or a stream, ends with the command.
//   - A client that reads too slowly delays its own stream or watch only. A watch then
//     leaves out values that newer ones have replaced.
//   - The origin of SET is the principal: Value.Source begins with the principal's name.
//   - All clients of a process that watch a service share one subscription of it in Redis.
//
// # Tasks
//
//   - To add the commands to a gateway, see [Commands].
//   - To say who may do what, see [Config].Allow and [Operation].
//
// README.md has the commands and their answers.
package control
