package keywords

type (
	Expr        = expr
	ExprOptions = exprOptions
	ExprName    = exprName
	ExprValue   = exprValue
	ExprLabel   = exprLabel
)

const (
	ExprMaxLen   = exprMaxLen
	ExprMaxDepth = exprMaxDepth
)

var (
	ParseExpr         = parseExpr
	NewExprValue      = newExprValue
	NewExprEnumerated = newExprEnumerated
	NewExprMask       = newExprMask
	ErrExprNoValue    = errExprNoValue
	ExprFold          = exprFold
)

func (e *expr) Names() []exprName { return e.names() }

func (e *expr) Eval(lookup func(exprName) (exprValue, bool)) (bool, error) { return e.eval(lookup) }
