from node import app

app.main()
